"""Train one network, or many: python train.py -m sparsity=0.95,0.99 rewire=random,l2,weighted"""

from rewire.stages.entry import launch

if __name__ == "__main__":
    launch("train")
